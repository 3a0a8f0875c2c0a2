"""How far is each attack, and each rule of when to attack, from the exact worst case of a grid?"""
